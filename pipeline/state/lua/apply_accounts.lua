-- Writes the fields of accounts that are newer than what is saved. A field is saved as "epoch partition offset time value". Within a partition the offset decides which is newer,
-- across partitions the time (see pipeline.Version).
-- KEYS  the accounts
-- ARGV  for each field, in the order of their writing: number of its key, name, epoch, partition, offset, time, value ('' is a tombstone)
-- returns how many were newer
local written = 0
for i = 1, #ARGV, 7 do
  local key, name = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  local epoch, partition, offset, time = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])
  local saved = redis.call('HGET', key, name)
  local e, p, o, t
  if saved then
    e, p, o, t = string.match(saved, '^(%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) ')
    e, p, o, t = tonumber(e), tonumber(p), tonumber(o), tonumber(t)
  end
  local newer
  if not t then
    newer = true
  elseif partition == p then
    newer = epoch > e or (epoch == e and offset > o)
  elseif time ~= t then
    newer = time > t
  else
    newer = partition > p
  end
  if newer then
    redis.call('HSET', key, name, table.concat({ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]}, ' '))
    written = written + 1
  end
end
return written
