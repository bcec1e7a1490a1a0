-- Renew a lease, or take it if it lapsed unnoticed. KEYS 1 lease. ARGV 1 value, 2 TTL in ms.
-- 0: the lease was claimed as dead; this incarnation is over.
if redis.call('GET', KEYS[1]) == 'dead' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
