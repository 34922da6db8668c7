-- Writes the fields of accounts that are newer than what is saved. A field is saved as "epoch partition offset value".
-- KEYS  the accounts
-- ARGV  for each field, in the order of their writing: number of its key, name, epoch, partition, offset, value ('' is a tombstone)
-- returns how many were newer
local written = 0
for i = 1, #ARGV, 6 do
  local key, name = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  local epoch, partition, offset = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  local saved = redis.call('HGET', key, name)
  local e, p, o
  if saved then
    e, p, o = string.match(saved, '^(%-?%d+) (%-?%d+) (%-?%d+) ')
    e, p, o = tonumber(e), tonumber(p), tonumber(o)
  end
  if not o or epoch > e or (epoch == e and (partition ~= p or offset > o)) then
    redis.call('HSET', key, name, ARGV[i + 2] .. ' ' .. ARGV[i + 3] .. ' ' .. ARGV[i + 4] .. ' ' .. ARGV[i + 5])
    written = written + 1
  end
end
return written
