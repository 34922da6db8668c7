-- Raises how far a partition of the account topic has been applied. It is saved as "epoch offset"; only a newer epoch may begin below.
-- KEYS  1 accounts-applied
-- ARGV  1 partition, 2 epoch, 3 offset
-- returns 1 if it was raised
local saved = redis.call('HGET', KEYS[1], ARGV[1])
local epoch, offset = tonumber(ARGV[2]), tonumber(ARGV[3])
local e, o
if saved then
  e, o = string.match(saved, '^(%-?%d+) (%-?%d+)$')
  e, o = tonumber(e), tonumber(o)
end
if not o or epoch > e or (epoch == e and offset > o) then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', epoch) .. ' ' .. ARGV[3])
  return 1
end
return 0
