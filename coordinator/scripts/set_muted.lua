-- The owner tells that a track is forwarded no longer, or again. ARGV 8 fence, 9 participant,
-- 10 track sid, 11 muted, 12 by. The reply is '+', 1 if that changed anything.
return once(function()
  if redis.call('EXISTS', ROOM) == 0 then return refuse('room_not_found') end
  if not owns(ARGV[8]) then return refuse('FENCED') end
  local record = redis.call('HGET', PARTICIPANTS, ARGV[9])
  if not record then return refuse('participant_not_found') end
  local track = redis.call('HGET', TRACKS, ARGV[10])
  if not track then return refuse('track_not_found') end
  local sid, muted, id, info = unpack(lines(track))
  if sid ~= ARGV[9] then return refuse('track_not_found') end
  if muted == ARGV[11] then return {'+', '0'} end
  redis.call('HSET', TRACKS, ARGV[10], sid .. '\n' .. ARGV[11] .. '\n' .. id .. '\n' .. info)
  append('track.muted', '{"participant":"' .. sid .. '","identity":' .. lines(record)[3]
    .. ',"track":"' .. ARGV[10] .. '","muted":' .. (ARGV[11] == '1' and 'true' or 'false')
    .. ',"by":"' .. ARGV[12] .. '"}')
  return {'+', '1'}
end)
