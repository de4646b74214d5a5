-- A worker goes. ARGV: worker, then all routes.
local worker = ARGV[A]
redis.call('HDEL', P .. 'workers', worker)
redis.call('DEL', P .. 'stop:' .. worker)
for i = A + 1, #ARGV do
  for prio = 0, 3 do
    local stream = stream_key(ARGV[i], prio)
    if redis.call('EXISTS', stream) == 1
      and #redis.call('XPENDING', stream, GROUP, '-', '+', 1, worker) == 0 then
      redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, worker)
    end
  end
end
return 1
