-- What a tenant has spent and reserved. ARGV: tenant, periods. Gives 1 where the accounts are open (else 0), then per period
-- nano-dollars and tokens spent, nano-dollars and tokens reserved.
local answer = {redis.call('GET', P .. 'accounts') == 'open' and 1 or 0}
for i = A + 1, #ARGV do
  local held = redis.call('HMGET', spend_key(ARGV[A], ARGV[i]), 'usd', 'tok', 'rusd', 'rtok')
  for n = 1, 4 do answer[#answer + 1] = held[n] or '0' end
end
return answer
