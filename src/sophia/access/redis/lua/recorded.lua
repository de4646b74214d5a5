-- The batch ARGV[1] of usage is in the ledger.
if redis.call('GET', P .. 'usage:batch') ~= ARGV[1] then return 0 end
return redis.call('DEL', P .. 'usage:taken', P .. 'usage:batch')
