-- Admit calls: rates, budgets, caches and reservations of all of them in one step. ARGV: the gateway, the lease of what it
-- holds in ms, and per call (MessagePack): id, tenant, rate name ('' for none), ms per request (0: no limit), burst, ms per
-- token, token burst, tokens, nano-dollars, account of the key ('' for none), caps of the tenant and of the key (usd day,
-- usd month, tokens day, tokens month; -1 for none; empty: no account), day, labels, input tokens, nano-dollars of the input,
-- cache keys, tokens and nano-dollars of each, ms of the flight to lead (0: none), its name, and the time in ms before which
-- cached answers are too old.
-- Gives the epoch of the gateway's holds, and per call {verdict, ...}:
--   ok, requests left, ms until full, tokens left, ms until full, nano-dollars and tokens reserved, cached values...
--   hit, the same four, 0, 0, cached values...
--   wait, ms of the flight that is under way
--   requests | tokens, ms until it would pass (-1: never), limit left, ms until full
--   budget, 'tenant' | 'key', period, kind, cap, spent, reserved
--   closed
local gateway, lease = ARGV[1], tonumber(ARGV[2])
local holds = holds_of(gateway)
local fields, answers, any_budget = {}, {}, nil

local function accounts_open()
  if any_budget == nil then any_budget = redis.call('GET', P .. 'accounts') == 'open' end
  return any_budget
end

local function load(one)
  if one.loaded then return end
  local held = redis.call('HMGET', one.key, 'usd', 'tok', 'rusd', 'rtok')
  one.loaded = {usd = tonumber(held[1] or '0'), tok = tonumber(held[2] or '0'),
    rusd = tonumber(held[3] or '0'), rtok = tonumber(held[4] or '0')}
end

local function over(whose, name, caps, day, usd, tok)
  for n, period in ipairs({day, string.sub(day, 1, 7)}) do
    local one = account(name, period)
    load(one)
    for _, kind in ipairs({'usd', 'tok'}) do
      local cap = caps[kind == 'usd' and n or n + 2]
      local spent, reserved = one.loaded[kind] + one[kind], one.loaded['r' .. kind] + one['r' .. kind]
      if cap >= 0 and spent + reserved + (kind == 'usd' and usd or tok) > cap then
        return {'budget', whose, period, kind, whole(cap), whole(spent), whole(reserved)}
      end
    end
  end
end

-- What is left and when it is full again, given the arrival time `at` of a rate.
local function state(at, each, burst)
  if each == 0 then return 0, 0 end
  return math.max(0, math.floor((burst * each - (at - now)) / each + 1e-6)), math.ceil(at - now)
end

local function admit(c)
  local name, each, burst, each_token, token_burst = c[3], c[4], c[5], c[6], c[7]
  local keys, tok, usd = c[17], c[8], c[9]
  local values, missing = {}, #keys == 0
  if #keys > 0 then
    local names = {}
    for n, key in ipairs(keys) do names[n] = P .. 'cache:' .. key end
    values = redis.call('MGET', unpack(names))
    tok, usd = 0, 0
    for n = 1, #keys do
      if values[n] and tonumber(string.sub(values[n], 1, 13)) < c[22] then values[n] = false end
      if not values[n] then
        missing = true
        tok, usd = tok + c[18][n], usd + c[19][n]
      end
    end
  end
  -- Whoever waits needs neither room in a budget nor tokens: the answer that comes costs nothing.
  local flight = missing and c[20] > 0 and P .. 'flight:' .. c[21]
  local under_way = flight and redis.call('PTTL', flight) or -2
  if under_way > 0 then return {'wait', under_way} end
  local rate = name ~= '' and rate_of(name)
  local requests, tokens = rate and rate.requests + each or 0, rate and rate.tokens + (missing and tok * each_token or 0) or 0
  if rate and each > 0 and requests - now > burst * each + 0.001 then
    local left, full = state(rate.requests, each, burst)
    return {'requests', math.ceil(requests - now - burst * each), left, full}
  end
  if rate and each_token > 0 and missing and tokens - now > token_burst * each_token + 0.001 then
    local left, full = state(rate.tokens, each_token, token_burst)
    return {'tokens', tok > token_burst and -1 or math.ceil(tokens - now - token_burst * each_token), left, full}
  end
  local refused
  if missing and (#c[11] > 0 or #c[12] > 0) then
    if not accounts_open() then return {'closed'} end
    refused = (#c[11] > 0 and over('tenant', c[2], c[11], c[13], usd, tok))
      or (#c[12] > 0 and over('key', c[10], c[12], c[13], usd, tok))
    if refused then return refused end
  end
  if flight then redis.call('SET', flight, c[1], 'PX', c[20]) end
  local left, full, token_left, token_full = 0, 0, 0, 0
  if rate then
    rate.dirty = true
    if each > 0 then rate.requests = requests end
    if each_token > 0 then rate.tokens = tokens end
    left, full = state(rate.requests, each, burst)
    token_left, token_full = state(rate.tokens, each_token, token_burst)
  end
  if not missing then
    return {'hit', left, full, token_left, token_full, 0, 0, unpack(values, 1, #keys)}
  end
  if #c[11] > 0 then change(c[2], c[13], 0, 0, usd, tok) end
  if #c[12] > 0 then change(c[10], c[13], 0, 0, usd, tok) end
  fields[#fields + 1] = c[1]
  fields[#fields + 1] = cmsgpack.pack({#c[11] > 0 and c[2] or '', #c[12] > 0 and c[10] or '', c[13], whole(usd), whole(tok), c[14],
    whole(math.min(c[15], tok)), '0', whole(math.min(c[16], usd))})
  return {'ok', left, full, token_left, token_full, whole(usd), whole(tok), unpack(values, 1, #keys)}
end

for n = 3, #ARGV do answers[#answers + 1] = admit(cmsgpack.unpack(ARGV[n])) end
local epoch = ''
if #fields > 0 then
  epoch = redis.call('HGET', holds, '@') or whole(now)
  redis.call('HSET', holds, '@', epoch, unpack(fields))
  redis.call('ZADD', GATEWAYS, whole(now + lease), gateway)
  write_sums()
end
write_rates()
return {epoch, answers}
