-- Records of tasks. ARGV: task ids. Gives per task its fields as a flat list, with the body ('b') wherever it is; or {}.
local answers = {}
for i = A, #ARGV do
  local id = ARGV[i]
  local fields = redis.call('HGETALL', record_key(id))
  local r = {}
  for j = 1, #fields, 2 do r[fields[j]] = fields[j + 1] end
  if r.s and not r.b and (r.e or r.q) then
    local stream, entry = stream_key(r.r, r.p), r.e
    if (r.q or '') ~= '' then stream, entry = backlog_key(r.r, r.p, r.l or r.n), '0-' .. r.q end
    local found = redis.call('XRANGE', stream, entry, entry)[1]
    if found then
      fields[#fields + 1] = 'b'
      fields[#fields + 1] = found[2][2]
    end
  end
  answers[#answers + 1] = fields
end
return answers
