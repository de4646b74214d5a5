-- Shared by the scripts of the gate. KEYS[1] is the partition's prefix, as in the queue, whose budget accounts
-- (`spend:TENANT:PERIOD`) these are too: what tasks and calls spend adds up. All that a batch of calls reads and writes of an
-- account, a rate or a counter is read once and written once, at the end. Time is the server's own.
local P = KEYS[1] .. ':'
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local GATEWAYS, USAGE = P .. 'gateways', P .. 'usage'
local function holds_of(gateway) return P .. 'calls:' .. gateway end
local function reaped_key(id) return P .. 'reaped:' .. id end
local function whole(number) return string.format('%.0f', number) end

-- Budget accounts: fields usd, tok (spent), rusd, rtok (reserved).
local accounts, account_order = {}, {}
local function account(name, period)
  local key = P .. 'spend:' .. name .. ':' .. period
  local known = accounts[key]
  if not known then
    known = {key = key, ttl = #period > 7 and 604800 or 5356800, usd = 0, tok = 0, rusd = 0, rtok = 0}
    accounts[key] = known
    account_order[#account_order + 1] = known
  end
  return known
end
local function change(name, day, usd, tok, rusd, rtok)
  for _, period in ipairs({day, string.sub(day, 1, 7)}) do
    local one = account(name, period)
    one.usd, one.tok, one.rusd, one.rtok = one.usd + usd, one.tok + tok, one.rusd + rusd, one.rtok + rtok
  end
end

-- Usage by "day\ntenant\nkey\nmodel\nprovider" and metric.
local counted, counted_order = {}, {}
local function tally(labels, metric, by)
  if by == 0 then return end
  local field = labels .. '\n' .. metric
  if not counted[field] then counted_order[#counted_order + 1] = field end
  counted[field] = (counted[field] or 0) + by
end

local function write_sums()
  for _, one in ipairs(account_order) do
    for _, field in ipairs({'usd', 'tok', 'rusd', 'rtok'}) do
      if one[field] ~= 0 then redis.call('HINCRBY', one.key, field, whole(one[field])) end
    end
    redis.call('EXPIRE', one.key, one.ttl)
  end
  for _, field in ipairs(counted_order) do redis.call('HINCRBY', USAGE, field, whole(counted[field])) end
end

-- Rates: theoretical arrival times of requests and of tokens (GCRA, ITU-T I.371), as "requests tokens" in milliseconds.
local rates = {}
local function rate_of(name)
  local known = rates[name]
  if not known then
    local text = redis.call('GET', P .. 'rate:' .. name)
    local requests, tokens = 0, 0
    if text then
      local a, b = string.match(text, '^(%S+) (%S+)$')
      requests, tokens = tonumber(a), tonumber(b)
    end
    known = {requests = math.max(now, requests), tokens = math.max(now, tokens)}
    rates[name] = known
  end
  return known
end
local function write_rates()
  for name, rate in pairs(rates) do
    local ttl = math.ceil(math.max(rate.requests, rate.tokens) - now)
    if rate.dirty then
      redis.call('SET', P .. 'rate:' .. name, string.format('%.3f %.3f', rate.requests, rate.tokens), 'PX', math.max(1, ttl))
    end
  end
end
