-- Hold a duty that one process at a time should do. KEYS 1 duty. ARGV 1 who, 2 TTL in ms.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
