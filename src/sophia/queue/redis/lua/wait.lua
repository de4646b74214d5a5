-- Where a waiting task stands. ARGV: task id. Gives {state, route, priority, due, ahead (-1: unknown)} or {}.
local key = record_key(ARGV[A])
local r = redis.call('HMGET', key, 's', 'r', 'p', 'due', 'e', 'q', 'n', 'l')
if not r[1] then return {} end
local state, route, prio, entry = r[1], r[2], tonumber(r[3]), r[5]
local ahead = -1
if state == 'queued' then
  ahead = 0
  for higher = 0, prio - 1 do
    ahead = ahead + counted('unread', route, higher) + counted('backlog', route, higher)
  end
  if r[6] and r[6] ~= '' then
    -- Tenants take turns: at most as many of every other tenant go first as of this one.
    local turn = route .. ':' .. prio .. ':' .. (r[8] or r[7])
    local mine = tonumber(r[6]) - tonumber(redis.call('HGET', TURN, 'out:' .. turn) or '0') - 1
    local tenants = redis.call('LLEN', ring_key(route, prio))
    ahead = ahead + counted('unread', route, prio)
      + math.min((mine + 1) * tenants - 1, counted('backlog', route, prio) - 1)
  else
    local after = redis.call('HGET', COUNT, 'seen:' .. route .. ':' .. prio) or '0-0'
    local before = redis.call('XRANGE', stream_key(route, prio), '(' .. after, '(' .. entry, 'COUNT', 1000)
    ahead = ahead + #before
  end
end
return {state, route, prio, r[4] or '', math.max(ahead, -1)}
