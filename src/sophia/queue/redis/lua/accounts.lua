-- The accounts of tenants' budgets after everything was lost. ARGV: 'begin', 'fill' or 'open', a token, and for 'fill' per
-- period tenant, period, nano-dollars and tokens spent. Gives 1 where they are open ('begin', 'open') or filled ('fill').
-- A token that is not there any more was replaced, or lost with everything else.
local step, token, known = ARGV[A], ARGV[A + 1], redis.call('GET', ACCOUNTS)
if known == 'open' then return 1 end
if step == 'begin' then
  redis.call('SET', ACCOUNTS, token)
  return 0
end
if step == 'open' then
  if known ~= '+' .. token then return 0 end
  redis.call('SET', ACCOUNTS, 'open')
  return 1
end
if known == '+' .. token then return 1 end
if known ~= token then return 0 end
for i = A + 2, #ARGV, 4 do
  local account, period = spend_key(ARGV[i], ARGV[i + 1]), ARGV[i + 1]
  for n, field in ipairs({'usd', 'tok'}) do
    local spent = tonumber(ARGV[i + 1 + n])
    if spent > tonumber(redis.call('HGET', account, field) or '0') then
      redis.call('HSET', account, field, string.format('%d', spent))
    end
  end
  keep_account(account, period)
end
redis.call('SET', ACCOUNTS, '+' .. token)
return 1
