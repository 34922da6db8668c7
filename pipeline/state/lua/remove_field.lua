-- Turns a field of an account into a tombstone of the same version, if it still has that version.
-- KEYS  1 account
-- ARGV  1 name, 2 version as it is saved: "epoch partition offset time "
-- returns 1 if the field is now a tombstone of that version, 0 if it has another version or was never there
local saved = redis.call('HGET', KEYS[1], ARGV[1])
if not saved or string.sub(saved, 1, #ARGV[2]) ~= ARGV[2] then
  return 0
end
if saved ~= ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
