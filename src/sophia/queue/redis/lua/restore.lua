-- Submission of tasks that have a past, which goes before `submit.lua`. ARGV: how many; per task id, number of its last
-- attempt, attempts that count, attempts as JSON ('' for none); then what `submit.lua` takes. They were admitted before:
-- their reservations are made again, whatever is left of the budgets.
for i = A + 1, A + 4 * tonumber(ARGV[A]), 4 do
  restored[ARGV[i]] = {attempt = ARGV[i + 1], counted = ARGV[i + 2], history = ARGV[i + 3]}
end
A = A + 1 + 4 * tonumber(ARGV[A])
