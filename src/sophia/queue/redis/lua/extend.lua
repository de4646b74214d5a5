-- Heartbeat. ARGV: worker, lease_ms, then (task id, attempt) each. Gives 0 lost, 1 held, 2 held and asked to cancel.
local worker, lease_ms = ARGV[A], tonumber(ARGV[A + 1])
local answers = {}
for i = A + 2, #ARGV, 2 do
  local r = redis.call('HMGET', record_key(ARGV[i]), 's', 'w', 'a', 'x')
  local answer = 0
  if r[1] == 'running' and r[2] == worker and r[3] == ARGV[i + 1] then
    redis.call('ZADD', LEASES, now + lease_ms, ARGV[i])
    answer = r[4] and 2 or 1
  end
  answers[#answers + 1] = answer
end
return answers
