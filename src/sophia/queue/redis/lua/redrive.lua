-- Queue dead tasks again, attempts counted anew. ARGV: tenant ('' for any), task ids. Gives those that went.
local went, only = {}, ARGV[A]
for i = A + 1, #ARGV do
  local id = ARGV[i]
  local key = record_key(id)
  local r = redis.call('HMGET', key, 's', 'n', 'r', 'p', 'b', 'l', 'd')
  if r[1] == 'dead' and r[5] and r[5] ~= '' and (only == '' or only == r[2]) then
    redis.call('ZREM', DEAD, id)
    count('dead', r[3], r[4], -1)
    local entry, number = place(limits, r[3], r[4], r[6] or r[2], r[5])
    redis.call('HSET', key, 's', 'queued', 'u', now, 'c', 0, 'e', entry, 'q', number)
    redis.call('HDEL', key, 'b', 'f', 'err')
    start_by(id, r[7])
    append_event(limits, id, r[2], 'task.queued', '{"from":"dead"}')
    changed(id)
    went[#went + 1] = id
  end
end
return went
