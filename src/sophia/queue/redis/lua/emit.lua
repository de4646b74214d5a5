-- Events of running attempts. ARGV per event: task id, worker, attempt, kind, data. Gives 1 written, 0 fenced off.
local answers = {}
for i = A, #ARGV, 5 do
  local id = ARGV[i]
  local r = redis.call('HMGET', record_key(id), 's', 'w', 'a', 'n')
  local answer = 0
  if r[1] == 'running' and r[2] == ARGV[i + 1] and r[3] == ARGV[i + 2] then
    append_event(limits, id, r[4], ARGV[i + 3], ARGV[i + 4])
    answer = 1
  end
  answers[#answers + 1] = answer
end
return answers
