-- Queue dead tasks again, attempts counted anew. ARGV: tenant ('' for any), then per task id, day of the budget ('' without
-- one), nano-dollars and tokens to reserve, and the caps as `submit.lua` takes them. Gives per task that is a dead letter
-- of that tenant {id, '', 'new'}, {id, '', 'closed'} or {id, '', 'budget', period, kind, cap, spent, reserved}.
local answers, only = {}, ARGV[A]
for i = A + 1, #ARGV, 5 do
  local id, day, usd, tokens, caps = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local key = record_key(id)
  local r = redis.call('HMGET', key, 's', 'n', 'r', 'p', 'b', 'l', 'd')
  if r[1] == 'dead' and r[5] and r[5] ~= '' and (only == '' or only == r[2]) then
    local refused
    if day ~= '' and not accounts_open() then
      refused = {id, '', 'closed'}
    elseif day ~= '' then
      refused = over_budget(r[2], day, tonumber(usd), tonumber(tokens), caps, {})
    end
    if refused then
      refused[1] = id
      answers[#answers + 1] = refused
    else
      redis.call('ZREM', DEAD, id)
      count('dead', r[3], r[4], -1)
      local entry, number = place(limits, r[3], r[4], r[6] or r[2], r[5])
      redis.call('HSET', key, 's', 'queued', 'u', now, 'c', 0, 'e', entry, 'q', number)
      redis.call('HDEL', key, 'b', 'f', 'err', 'bd', 'ru', 'rt')
      if day ~= '' then
        reserve(r[2], day, usd, tokens)
        redis.call('HSET', key, 'bd', day, 'ru', usd, 'rt', tokens)
      end
      start_by(id, r[7])
      append_event(limits, id, r[2], 'task.queued', '{"from":"dead"}')
      changed(id)
      answers[#answers + 1] = {id, '', 'new'}
    end
  end
end
return answers
