-- Accept tasks, all or none. Per task: id, tenant, type, route, priority, run_at_ms (0: now), deadline_ms (0: none),
-- max_attempts, idempotency key ('' for none), request hash, key ttl ms, queued event data, body.
-- Gives per task {id, state, 'new' | 'same' | 'conflict'}. Repeating a submission with the same id changes nothing.
local STEP = 13
local answers, fresh = {}, {}
local conflict = false
for i = A, #ARGV, STEP do
  local id, tenant, idem, hash = ARGV[i], ARGV[i + 1], ARGV[i + 8], ARGV[i + 9]
  local state = redis.call('HGET', record_key(id), 's')
  local answer
  if state then
    answer = {id, state, 'same'}
  elseif idem ~= '' then
    local key = P .. 'idem:' .. tenant .. ':' .. idem
    local known = redis.call('GET', key)
    if known and string.sub(known, 1, ID_LENGTH) ~= id then
      local first = string.sub(known, 1, ID_LENGTH)
      if string.sub(known, ID_LENGTH + 1) == hash then
        -- The record may have gone to the ledger before the key expired.
        answer = {first, redis.call('HGET', record_key(first), 's') or '', 'same'}
      else
        answer = {first, '', 'conflict'}
        conflict = true
      end
    elseif fresh[key] then
      answer = {fresh[key].id, '', fresh[key].hash == hash and 'same' or 'conflict'}
      conflict = conflict or fresh[key].hash ~= hash
    else
      fresh[key] = {id = id, hash = hash}
    end
  end
  answers[#answers + 1] = answer or {id, '', 'new'}
end
if conflict then return answers end
local n = 0
for i = A, #ARGV, STEP do
  n = n + 1
  if answers[n][3] == 'new' then
    local id, tenant, route, prio = ARGV[i], ARGV[i + 1], ARGV[i + 3], ARGV[i + 4]
    local run_at, deadline, idem = tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6]), ARGV[i + 8]
    local later = run_at > now
    local state = later and 'scheduled' or 'queued'
    redis.call('HSET', record_key(id), 's', state, 'n', tenant, 'r', route, 'p', prio, 'at', now, 'u', now,
      'm', ARGV[i + 7], 'a', 0, 'c', 0, 'ev', 1)
    if deadline > 0 then
      redis.call('HSET', record_key(id), 'd', deadline)
      redis.call('ZADD', STARTBY, deadline, id)
    end
    if idem ~= '' then
      redis.call('SET', P .. 'idem:' .. tenant .. ':' .. idem, id .. ARGV[i + 9], 'PX', ARGV[i + 10])
    end
    if later then
      redis.call('HSET', record_key(id), 'b', ARGV[i + 12], 'due', run_at)
      redis.call('ZADD', DUE, run_at, id)
      count('scheduled', route, prio, 1)
    else
      place(limits, id, route, prio, tenant, ARGV[i + 12])
    end
    publish(limits.events, 'task.' .. state, id, tenant, 1, ARGV[i + 11])
    changed(id)
    answers[n][2] = state
  elseif answers[n][2] == '' then
    answers[n][2] = redis.call('HGET', record_key(answers[n][1]), 's') or ''
  end
end
return answers
