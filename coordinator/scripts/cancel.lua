-- Undo a join of which nobody knows whether it happened (KEYS[3] is the join's own idempotency
-- key): the participant leaves, or a join that still lies in some socket buffer will be refused.
-- ARGV 8 sid.
if not remove(ARGV[8], 'join_failed') then
  redis.call('SET', IDEM, cmsgpack.pack({'-', 'center_unavailable', ''}), 'PX', ARGV[6])
end
return {'+'}
