-- Leader lease. ARGV: name, holder, ttl_ms (0: resign). Gives 1 while the holder leads.
local key = P .. 'leader:' .. ARGV[A]
local holder = redis.call('GET', key)
if ARGV[A + 2] == '0' then
  if holder == ARGV[A + 1] then redis.call('DEL', key) end
  return 0
end
if holder and holder ~= ARGV[A + 1] then return 0 end
redis.call('SET', key, ARGV[A + 1], 'PX', ARGV[A + 2])
return 1
