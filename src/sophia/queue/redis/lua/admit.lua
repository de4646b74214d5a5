-- Admission against tenants' budgets, for the scripts that make reservations. A budgeted task is admitted only while the
-- partition's accounts are open: a server that was wiped knows nothing of what was spent, see `accounts.lua`. Tasks that
-- were admitted before the loss are restored as soon as what was spent is filled in.
local function accounts_open(was_admitted)
  accounts_mark = accounts_mark or redis.call('GET', ACCOUNTS) or ''
  return accounts_mark == 'open' or (was_admitted and string.sub(accounts_mark, 1, 1) == '+')
end

-- The first budget that has no room for this reservation beside those of `asked` (by account), which are still to be made.
local function over_budget(tenant, day, usd, tokens, caps, asked)
  local cap = {}
  for word in string.gmatch(caps, '[^,]+') do cap[#cap + 1] = tonumber(word) or false end
  for n, period in ipairs({day, string.sub(day, 1, 7)}) do
    local account = spend_key(tenant, period)
    local held = redis.call('HMGET', account, 'usd', 'rusd', 'tok', 'rtok')
    local also = asked[account] or {usd = 0, tok = 0}
    for _, kind in ipairs({'usd', 'tok'}) do
      local first = kind == 'usd'
      local most, want = cap[first and n or n + 2], first and usd or tokens
      local spent = tonumber(held[first and 1 or 3] or '0')
      local reserved = tonumber(held[first and 2 or 4] or '0') + also[kind]
      if most and spent + reserved + want > most then
        return {'', '', 'budget', period, kind, string.format('%d', most), string.format('%d', spent),
          string.format('%d', reserved)}
      end
    end
  end
end

local function keep_account(account, period)
  redis.call('EXPIRE', account, #period > 7 and 604800 or 5356800)
end

local function reserve(tenant, day, usd, tokens)
  for _, period in ipairs({day, string.sub(day, 1, 7)}) do
    local account = spend_key(tenant, period)
    redis.call('HINCRBY', account, 'rusd', usd)
    redis.call('HINCRBY', account, 'rtok', tokens)
    keep_account(account, period)
  end
end
