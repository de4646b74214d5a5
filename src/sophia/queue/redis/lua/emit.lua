-- Events of running attempts, into the task's list ('lo' says that it has one). ARGV per event: task id, worker,
-- attempt, kind, data. Gives 1 written, 0 fenced off.
local answers = {}
for i = A, #ARGV, 5 do
  local id = ARGV[i]
  local r = redis.call('HMGET', record_key(id), 's', 'w', 'a', 'n', 'lo')
  local answer = 0
  if r[1] == 'running' and r[2] == ARGV[i + 1] and r[3] == ARGV[i + 2] then
    if not NO_EVENTS then
      local seq, list = redis.call('HINCRBY', record_key(id), 'ev', 1), P .. 'log:' .. id
      redis.call('RPUSH', list, log_line(ARGV[i + 3], ARGV[i + 4], seq))
      if seq > limits.task_events then redis.call('LTRIM', list, -limits.task_events, -1) end
      if not r[5] then redis.call('HSET', record_key(id), 'lo', 1) end
      publish(limits.events, ARGV[i + 3], id, r[4], seq, ARGV[i + 4])
    end
    answer = 1
  end
  answers[#answers + 1] = answer
end
return answers
