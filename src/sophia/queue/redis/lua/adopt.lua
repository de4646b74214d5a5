-- Attempts of this worker that it has not heard of, because the reply of the call that began them was lost. ARGV: worker,
-- lease_ms, number of such calls, their names, then the routes they served. Gives what `lease` gives.
local worker, lease_ms, calls, taken = ARGV[A], tonumber(ARGV[A + 1]), {}, {}
local at = A + 3 + tonumber(ARGV[A + 2])
for i = A + 3, at - 1 do calls[ARGV[i]] = true end
for i = at, #ARGV do
  for prio = 0, 3 do
    local stream = stream_key(ARGV[i], prio)
    for _, item in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', 1000, worker)) do
      local found = redis.call('XRANGE', stream, item[1], item[1])[1]
      local id, body = entry_id(found and found[2])
      local r = id and redis.call('HMGET', record_key(id), 's', 'w', 'lc', 'e', 'a', 'c', 'st', 'h') or {}
      if r[1] == 'running' and r[2] == worker and calls[r[3] or ''] and r[4] == item[1] then
        gather('ZADD', LEASES, now + lease_ms, id)
        taken[#taken + 1] = {id, tonumber(r[5]), tonumber(r[6]), body, tonumber(r[7]), r[8] or ''}
      end
    end
  end
end
return taken
