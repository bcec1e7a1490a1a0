-- A page of a ledger, read at once with its head. KEYS 1 meta, 2 ledger.
-- ARGV 1 after which entry id, 2 how many at most (0: only the head).
-- The reply is epoch, head, entries; epoch and head are '' if there is no ledger.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'last')
local entries = {}
if ARGV[2] ~= '0' then
  entries = redis.call('XRANGE', KEYS[2], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
end
return {meta[1] or '', meta[2] or '', entries}
