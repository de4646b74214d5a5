-- Calls whose gateway is gone are charged what was known of them, the rest of their reservations goes back, and should the
-- gateway come back after all, what it says then is corrected by what was charged. ARGV: the most calls to end, a fresh batch
-- id. Gives how many were ended, whether there are more, ms until the next lease ends (-1: none), and a batch of usage to be
-- recorded: its id ('' for none) and fields and values.
local limit, ended, more = tonumber(ARGV[1]), 0, 0
for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', GATEWAYS, '-inf', whole(now), 'LIMIT', 0, 16)) do
  local holds = holds_of(gateway)
  local gone, done = {}, true
  local read = redis.call('HGETALL', holds)
  for n = 1, #read, 2 do
    if read[n] ~= '@' then
      if ended >= limit then done = false break end
      local hold = cmsgpack.unpack(read[n + 1])
      local input, output, usd = tonumber(hold[7]), tonumber(hold[8]), tonumber(hold[9])
      for _, name in ipairs({hold[1], hold[2]}) do
        if name ~= '' then change(name, hold[3], usd, input + output, -tonumber(hold[4]), -tonumber(hold[5])) end
      end
      tally(hold[6], 'requests', 1)
      tally(hold[6], 'input', input)
      tally(hold[6], 'output', output)
      tally(hold[6], 'usd', usd)
      redis.call('SET', reaped_key(read[n]), cmsgpack.pack({hold[9], hold[7], hold[8]}), 'EX', 86400)
      gone[#gone + 1] = read[n]
      ended = ended + 1
    end
  end
  if done then
    redis.call('DEL', holds)
    redis.call('ZREM', GATEWAYS, gateway)
  else
    more = 1
    if #gone > 0 then redis.call('HDEL', holds, unpack(gone)) end
  end
end
write_sums()
local first = redis.call('ZRANGE', GATEWAYS, 0, 0, 'WITHSCORES')
local batch = redis.call('GET', P .. 'usage:batch')
if not batch and redis.call('EXISTS', USAGE) == 1 then
  batch = ARGV[2]
  redis.call('RENAME', USAGE, P .. 'usage:taken')
  redis.call('SET', P .. 'usage:batch', batch)
end
return {ended, more, first[2] and math.max(0, math.ceil(tonumber(first[2]) - now)) or -1, batch or '',
  batch and redis.call('HGETALL', P .. 'usage:taken') or {}}
