-- Remembers the first start of a deployment, and tells a later one about it.
-- KEYS  1 meta
-- ARGV  1 first start (ms since 1970), 2 shards, 3 epoch
-- returns first start, shards and epoch, as they are remembered, and when all was restored ('' if never)
redis.call('HSETNX', KEYS[1], 'first_start', ARGV[1])
redis.call('HSETNX', KEYS[1], 'shards', ARGV[2])
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[3])
local meta = redis.call('HMGET', KEYS[1], 'first_start', 'shards', 'epoch')
meta[4] = redis.call('HGET', KEYS[1], 'restored') or ''
return meta
