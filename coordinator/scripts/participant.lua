-- Read one participant and its tracks. ARGV 8 identity (JSON).
-- The reply is '+', sid, the participant (JSON), a list of its tracks' records.
if redis.call('EXISTS', ROOM) == 0 then return refuse('room_not_found') end
local sid = redis.call('HGET', IDENTITIES, ARGV[8])
if not sid then return refuse('participant_not_found') end
local records = {}
for _, track in ipairs(tracks_by_participant()[sid] or {}) do
  records[#records + 1] = track
  records[#records + 1] = redis.call('HGET', TRACKS, track)
end
return {'+', sid, lines(redis.call('HGET', PARTICIPANTS, sid))[4], records}
