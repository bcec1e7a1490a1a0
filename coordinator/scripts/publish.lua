-- The owner tells of a participant's new track. ARGV 8 fence, 9 participant, 10 track sid,
-- 11 track (JSON), 12 muted. The reply is '+', entry id.
return once(function()
  if redis.call('EXISTS', ROOM) == 0 then return refuse('room_not_found') end
  if not owns(ARGV[8]) then return refuse('FENCED') end
  local record = redis.call('HGET', PARTICIPANTS, ARGV[9])
  if not record then return refuse('participant_not_found') end
  local old = redis.call('HGET', TRACKS, ARGV[10])
  if old then return {'+', lines(old)[3]} end
  local id = append('track.published', '{"participant":"' .. ARGV[9] .. '","identity":'
    .. lines(record)[3] .. ',"track":' .. ARGV[11] .. '}')
  redis.call('HSET', TRACKS, ARGV[10], ARGV[9] .. '\n' .. ARGV[12] .. '\n' .. id .. '\n' .. ARGV[11])
  return {'+', id}
end)
