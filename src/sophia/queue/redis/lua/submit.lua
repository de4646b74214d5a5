-- Accept tasks, all or none. Per task: id, tenant, type, route, priority, run_at_ms (0: now), deadline_ms (0: none),
-- max_attempts, idempotency key ('' for none), request hash, key ttl ms, queued event data, body, day of the budget
-- ('' without one), nano-dollars and tokens to reserve, and the caps "usd day,usd month,tokens day,tokens month" (- for none).
-- Gives per task {id, state, 'new' | 'same' | 'conflict' | 'closed'} or {id, '', 'budget', period, kind, cap, spent,
-- reserved}; 'closed': the budgets' accounts are not open.
-- Repeating a submission with the same id changes nothing.
local STEP = 17
local answers, fresh, asked, here = {}, {}, {}, {}
local refused = false

-- Most often none is known, which one question for all of them tells.
local keys = {}
for i = A, #ARGV, STEP do keys[#keys + 1] = record_key(ARGV[i]) end
local some_known = false
for first = 1, #keys, 1000 do
  some_known = some_known or redis.call('EXISTS', unpack(keys, first, math.min(first + 999, #keys))) > 0
end
for i = A, #ARGV, STEP do
  local id, tenant, idem, hash = ARGV[i], ARGV[i + 1], ARGV[i + 8], ARGV[i + 9]
  local state = some_known and redis.call('HGET', record_key(id), 's')
  local answer
  if state or here[id] then
    answer = {id, state or '', 'same'}
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
        refused = true
      end
    elseif fresh[key] then
      answer = {fresh[key].id, '', fresh[key].hash == hash and 'same' or 'conflict'}
      refused = refused or fresh[key].hash ~= hash
    else
      fresh[key] = {id = id, hash = hash}
    end
  end
  local day = ARGV[i + 13]
  if not answer and day ~= '' then
    local usd, tokens = tonumber(ARGV[i + 14]), tonumber(ARGV[i + 15])
    if not accounts_open(restored[id]) then
      answer = {id, '', 'closed'}
    elseif not restored[id] then
      answer = over_budget(tenant, day, usd, tokens, ARGV[i + 16], asked)
    end
    if answer then
      answer[1] = id
      refused = true
    else
      for _, period in ipairs({day, string.sub(day, 1, 7)}) do
        local account = spend_key(tenant, period)
        local also = asked[account] or {usd = 0, tok = 0}
        asked[account] = {usd = also.usd + usd, tok = also.tok + tokens}
      end
    end
  end
  here[id] = true
  answers[#answers + 1] = answer or {id, '', 'new'}
end
if refused then return answers end
local n = 0
for i = A, #ARGV, STEP do
  n = n + 1
  if answers[n][3] == 'new' then
    local id, tenant, route, prio = ARGV[i], ARGV[i + 1], ARGV[i + 3], ARGV[i + 4]
    local run_at, deadline, idem = tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6]), ARGV[i + 8]
    local later = run_at > now
    local type_capped = limits.caps['type:' .. ARGV[i + 2]]
    local lane = type_capped and (tenant .. '|' .. ARGV[i + 2]) or tenant
    local state = later and 'scheduled' or 'queued'
    local record = {'HSET', record_key(id), 's', state, 'n', tenant, 'r', route, 'p', prio, 'at', NOW}
    local function keep(...)
      for _, word in ipairs({...}) do record[#record + 1] = word end
    end
    -- Every queued task pays for its fields: 'u' is 'at' until something changes.
    if ARGV[i + 7] ~= MOST_ATTEMPTS then keep('m', ARGV[i + 7]) end
    if type_capped then keep('l', lane) end
    local past = restored[id]
    if past then keep('a', past.attempt, 'c', past.counted) end
    if past and past.history ~= '' then keep('h', past.history) end
    local day = ARGV[i + 13]
    if day ~= '' then
      keep('bd', day, 'ru', ARGV[i + 14], 'rt', ARGV[i + 15])
      reserve(tenant, day, ARGV[i + 14], ARGV[i + 15])
    end
    if deadline > 0 then
      keep('d', deadline)
      redis.call('ZADD', STARTBY, deadline, id)
    end
    if idem ~= '' then
      redis.call('SET', P .. 'idem:' .. tenant .. ':' .. idem, id .. ARGV[i + 9], 'PX', ARGV[i + 10])
    end
    if later then
      keep('b', ARGV[i + 12], 'due', run_at)
      redis.call('ZADD', DUE, run_at, id)
      count('scheduled', route, prio, 1)
    else
      local entry, number = place(limits, route, prio, lane, ARGV[i + 12])
      if number == '' then keep('e', entry, 'q', '') else keep('q', number) end
    end
    redis.call(unpack(record))
    publish(limits.events, 'task.' .. state, id, tenant, 1, ARGV[i + 11])
    changed(id)
    answers[n][2] = state
  elseif answers[n][2] == '' then
    answers[n][2] = redis.call('HGET', record_key(answers[n][1]), 's') or ''
  end
end
return answers
