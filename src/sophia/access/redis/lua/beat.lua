-- A gateway says that it lives, and how far its long calls have come. ARGV: the gateway, its lease in ms, and per call id,
-- output tokens and nano-dollars so far.
local gateway, lease = ARGV[1], tonumber(ARGV[2])
local holds = holds_of(gateway)
if redis.call('EXISTS', holds) == 0 then return 0 end
redis.call('ZADD', GATEWAYS, whole(now + lease), gateway)
for n = 3, #ARGV, 3 do
  local held = redis.call('HGET', holds, ARGV[n])
  if held then
    local hold = cmsgpack.unpack(held)
    hold[8], hold[9] = ARGV[n + 1], ARGV[n + 2]
    redis.call('HSET', holds, ARGV[n], cmsgpack.pack(hold))
  end
end
return 1
