-- Dead letters, newest first. ARGV: tenant ('' for any), limit. Gives task ids.
local tenant, limit = ARGV[A], tonumber(ARGV[A + 1])
local found, from = {}, 0
while #found < limit do
  local ids = redis.call('ZREVRANGE', DEAD, from, from + 199)
  for _, id in ipairs(ids) do
    local owner = redis.call('HGET', record_key(id), 'n')
    if #found < limit and owner and (tenant == '' or tenant == owner) then found[#found + 1] = id end
  end
  if #ids < 200 or from >= 10000 then break end
  from = from + 200
end
return found
