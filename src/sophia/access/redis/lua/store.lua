-- Keep answers. ARGV: the most bytes of all of them, and per answer its key, its lifetime in ms, and its bytes, which are kept
-- behind the time of storing (13 digits, ms). What has expired is taken off the books, and what expires next makes room.
local most = tonumber(ARGV[1])
local INDEX, BYTES, OVERHEAD = P .. 'cached', P .. 'cached:bytes', 200
local bytes = tonumber(redis.call('GET', BYTES) or '0')
local function size_in(member) return tonumber(string.match(member, '(%d+)$')) end
local function name_of(key) return P .. 'cache:' .. key end

local gone = redis.call('ZRANGEBYSCORE', INDEX, '-inf', whole(now), 'LIMIT', 0, 200)
for _, member in ipairs(gone) do bytes = bytes - size_in(member) end
if #gone > 0 then redis.call('ZREM', INDEX, unpack(gone)) end

for n = 2, #ARGV, 3 do
  local key, ttl, value = ARGV[n], tonumber(ARGV[n + 1]), whole(now) .. ARGV[n + 2]
  local size, old = #value + OVERHEAD, redis.call('STRLEN', name_of(key))
  if old > 0 and redis.call('ZREM', INDEX, key .. ' ' .. (old + OVERHEAD)) == 1 then bytes = bytes - old - OVERHEAD end
  while size <= most and bytes + size > most do
    local first = redis.call('ZPOPMIN', INDEX)
    if not first[1] then break end
    bytes = bytes - size_in(first[1])
    redis.call('DEL', name_of(string.match(first[1], '^(.*) %d+$')))
  end
  if size <= most then
    redis.call('SET', name_of(key), value, 'PX', ttl)
    if redis.call('ZADD', INDEX, whole(now + ttl), key .. ' ' .. size) == 1 then bytes = bytes + size end
  end
end
redis.call('SET', BYTES, whole(math.max(0, bytes)))
return bytes
