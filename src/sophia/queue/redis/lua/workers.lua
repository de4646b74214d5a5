-- Reports that are still alive; the others are forgotten. Gives {seen_at_ms, report} each.
local all, alive = redis.call('HGETALL', P .. 'workers'), {}
for i = 1, #all, 2 do
  local seen, until_ms, report = string.match(all[i + 1], '^(%d+):(%d+):(.*)$')
  if tonumber(until_ms) < now then redis.call('HDEL', P .. 'workers', all[i])
  else alive[#alive + 1] = {seen, report} end
end
return alive
