-- Counters of every stream and priority. ARGV: routes. Gives per stream: route, priority, waiting, running, scheduled,
-- retrying, oldest age in ms (-1: none), first and last entry ('' for none), dead.
local answers, names = {}, {}
for i = A, #ARGV do
  for prio = 0, 3 do
    for _, kind in ipairs({'unread', 'backlog', 'running', 'scheduled', 'retrying', 'dead'}) do
      names[#names + 1] = kind .. ':' .. ARGV[i] .. ':' .. prio
    end
  end
end
if names[1] then counts.load(names) end
for i = A, #ARGV do
  for prio = 0, 3 do
    local route = ARGV[i]
    local stream = stream_key(route, prio)
    local unread, backlog = counted('unread', route, prio), counted('backlog', route, prio)
    local first, last
    if unread + counted('running', route, prio) > 0 then
      first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
      last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    end
    local age = -1
    if unread > 0 then
      local after = redis.call('HGET', COUNT, 'seen:' .. route .. ':' .. prio) or '0-0'
      local head = redis.call('XRANGE', stream, '(' .. after, '+', 'COUNT', 1)[1]
      if head then
        local id = entry_id(head[2])
        local at = id and redis.call('HGET', record_key(id), 'at')
        age = now - tonumber(at or string.match(head[1], '^(%d+)'))
      end
    end
    answers[#answers + 1] = {route, prio, unread + backlog, counted('running', route, prio),
      counted('scheduled', route, prio), counted('retrying', route, prio), age,
      first and first[1] or '', last and last[1] or '', counted('dead', route, prio)}
  end
end
return answers
