-- End attempts, each at once: record, usage, acknowledgement, deletion, event, ledger change.
-- ARGV per attempt: task id, worker, attempt, outcome, result ('' for none), error ('' for none), attempt as JSON,
-- retry_in_ms, event data, nano-dollars and tokens spent. Gives 1 applied (also when applied before), 0 fenced off.
local STEP = 11
local answers, freed = {}, {}
for i = A, #ARGV, STEP do
  local id, worker, attempt, outcome = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key = record_key(id)
  local r = redis.call('HMGET', key, 's', 'w', 'a', 'n', 'r', 'p', 'e', 'x', 'ls', 'l', 'h', 'ev', 'd', 'bd', 'c', 'lg', 'lo')
  local mark = attempt .. ' ' .. outcome .. ' ' .. worker
  local answer = 0
  if r[1] == 'running' and r[2] == worker and r[3] == attempt then
    local tenant, route, prio = r[4], r[5], r[6]
    local lane = r[10] or tenant
    local result, err, data = ARGV[i + 4], ARGV[i + 5], ARGV[i + 8]
    local known = {ev = r[12], d = r[13], x = r[8], bd = r[14], lg = r[16], lo = r[17]}
    gather('ZREM', LEASES, id)
    local body = remove_entry(route, prio, lane, r[7], 'running', (#ARGV + 1 - i) / STEP) or ''
    local history = longer(r[11], ARGV[i + 6])
    if known.bd then spend(id, tenant, tonumber(ARGV[i + 9]), tonumber(ARGV[i + 10]), false) end
    if r[8] and (outcome == 'retrying' or outcome == 'handed_back') then outcome = 'cancelled' end
    if outcome == 'succeeded' then
      finish(limits, id, tenant, 'succeeded', 'task.succeeded', data,
        {'b', body, 'res', result, 'h', history, 'ls', mark}, known)
      if r[11] then redis.call('HDEL', key, 'err') end
    elseif outcome == 'failed' then
      finish(limits, id, tenant, 'failed', 'task.failed', data,
        {'b', body, 'err', err, 'h', history, 'ls', mark}, known)
    elseif outcome == 'dead' then
      bury(limits, id, tenant, route, prio, data, {'b', body, 'err', err, 'h', history, 'ls', mark}, known)
    elseif outcome == 'cancelled' then
      finish(limits, id, tenant, 'cancelled', 'task.cancelled',
        '{"reason":' .. cjson.encode(r[8] or 'cancelled') .. '}', {'b', body, 'h', history, 'ls', mark}, known)
    elseif outcome == 'retrying' then
      local due = now + tonumber(ARGV[i + 7])
      redis.call('HSET', key, 's', 'retrying', 'u', now, 'b', body, 'due', due, 'err', err, 'h', history, 'ls', mark)
      redis.call('ZADD', DUE, due, id)
      start_by(id, known.d)
      count('retrying', route, prio, 1)
      append_event(limits, id, tenant, 'task.retrying', data)
      changed(id)
    else
      -- Handed back: the attempt does not count, and the task goes on at once, ahead of its tenant's backlog.
      redis.call('HSET', key, 's', 'queued', 'u', now, 'c', tonumber(r[15]) - 1, 'h', history, 'ls', mark,
        'e', add_entry(route, prio, lane, body), 'q', '')
      start_by(id, known.d)
      append_event(limits, id, tenant, 'task.queued', data)
      changed(id)
    end
    freed[route .. ':' .. prio] = {route, prio}
    answer = 1
  elseif r[9] == mark then
    answer = 1
  end
  answers[#answers + 1] = answer
end
for _, at in pairs(freed) do refill(limits, at[1], at[2], limits.window) end
return answers
