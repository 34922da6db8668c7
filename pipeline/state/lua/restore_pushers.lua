-- Puts removed fields back into accounts, each where the tombstone of its version still stands.
-- KEYS  accounts
-- ARGV  for each field: number of its key, name, its tombstone, what it was
-- returns for each field: 1 it is back (or was already), 2 there is another tombstone, 3 it has another value
local outcomes = {}
for i = 1, #ARGV, 4 do
  local key, name, tombstone, value = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local saved = redis.call('HGET', key, name)
  local outcome = 3
  if saved == tombstone then
    redis.call('HSET', key, name, value)
    outcome = 1
  elseif saved == value then
    outcome = 1
  elseif not saved or string.match(saved, '^[%d %-]* $') then -- a version alone
    outcome = 2
  end
  outcomes[#outcomes + 1] = outcome
end
return outcomes
