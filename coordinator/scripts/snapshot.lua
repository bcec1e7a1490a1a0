-- Read a room at once. ARGV 8: 1 for all of it, 0 without participants and tracks.
-- The reply is '+' and the snapshot, or a refusal.
if redis.call('EXISTS', ROOM) == 0 then return refuse('room_not_found') end
return {'+', snapshot(ARGV[8] == '0')}
