-- End calls: what each held is given back and what it used is counted, once, however often this is repeated. ARGV: the
-- gateway, and per call (MessagePack): id, epoch of its hold ('' for none; '-': it may have one, which is taken back), tenant account, key account
-- ('' for none), day, nano-dollars and tokens held, labels, requests, cached, input, output and embedding tokens, nano-dollars,
-- nano-dollars saved, rate name, ms per token, tokens taken of the rate, flight to end ('' for none).
local gateway = ARGV[1]
local holds = holds_of(gateway)
local calls, names = {}, {'@'}
for n = 2, #ARGV do
  local c = cmsgpack.unpack(ARGV[n])
  calls[#calls + 1] = c
  names[#names + 1] = c[1]
end
local known = redis.call('HMGET', holds, unpack(names))
local ended, forget, corrected, seen = {}, {}, {}, {}
for n, c in ipairs(calls) do
  local held, before = known[n + 1], nil
  if not held and #c[2] > 1 then before = redis.call('GET', reaped_key(c[1])) end
  -- Settled before: its hold is gone, and neither by upkeep nor with everything else that the server knew.
  local again = seen[c[1]] or before == '-' or not held and not before and c[2] ~= '' and (c[2] == '-' or c[2] == known[1])
  seen[c[1]] = true
  if not again then
    local usd, input, output, embedding, requests = c[14], c[11], c[12], c[13], c[9]
    if before then
      local was = cmsgpack.unpack(before)
      usd, input, output, requests = usd - tonumber(was[1]), input - tonumber(was[2]), output - tonumber(was[3]), requests - 1
      corrected[#corrected + 1] = reaped_key(c[1])
    end
    local tok = input + output + embedding
    local back_usd, back_tok = held and -c[6] or 0, held and -c[7] or 0
    if c[2] == '-' then
      local hold = cmsgpack.unpack(held)
      back_usd, back_tok = -tonumber(hold[4]), -tonumber(hold[5])
    end
    if c[3] ~= '' then change(c[3], c[5], usd, tok, back_usd, back_tok) end
    if c[4] ~= '' then change(c[4], c[5], usd, tok, back_usd, back_tok) end
    tally(c[8], 'requests', requests)
    tally(c[8], 'cached', c[10])
    tally(c[8], 'input', input)
    tally(c[8], 'output', output)
    tally(c[8], 'embedding', embedding)
    tally(c[8], 'usd', usd)
    tally(c[8], 'saved', c[15])
    if c[16] ~= '' and c[17] > 0 then
      -- What was estimated too high comes back to the rate; what was too low is taken of it.
      local rate = rate_of(c[16])
      rate.tokens = math.max(now, rate.tokens + (c[11] + c[12] + c[13] - c[18]) * c[17])
      rate.dirty = true
    end
    if held then ended[#ended + 1] = c[1] end
  end
  if c[19] ~= '' and redis.call('GET', P .. 'flight:' .. c[19]) == c[1] then forget[#forget + 1] = P .. 'flight:' .. c[19] end
end
-- Sums first: a server without memory refuses the first of them, and then nothing has changed.
write_sums()
write_rates()
if #ended > 0 then redis.call('HDEL', holds, unpack(ended)) end
for _, key in ipairs(corrected) do redis.call('SET', key, '-', 'EX', 86400) end
if #forget > 0 then redis.call('DEL', unpack(forget)) end
return #ended
