-- A worker reports. ARGV: worker, report as JSON (seen_at_ms is set here), ms to live. Gives 1 when it shall drain.
local worker = ARGV[A]
redis.call('HSET', P .. 'workers', worker, now .. ':' .. (now + tonumber(ARGV[A + 2])) .. ':' .. ARGV[A + 1])
return redis.call('EXISTS', P .. 'stop:' .. worker)
