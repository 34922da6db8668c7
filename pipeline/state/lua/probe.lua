-- Does once what the other scripts do, on keys of its own that it removes: is all of it allowed?
-- KEYS  1 a hash, 2 a sorted set
-- returns 1
redis.call('HSETNX', KEYS[1], 'a', '1')
redis.call('HSET', KEYS[1], 'b', '2')
redis.call('HGET', KEYS[1], 'a')
redis.call('HMGET', KEYS[1], 'a', 'b')
redis.call('HDEL', KEYS[1], 'b')
redis.call('ZADD', KEYS[2], 'NX', 1, 'a')
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -2)
redis.call('DEL', KEYS[1])
redis.call('DEL', KEYS[2])
return 1
