-- The owner tells that a track ended. ARGV 8 fence, 9 participant, 10 track sid.
-- The reply is '+', 1 if it was there.
return once(function()
  if redis.call('EXISTS', ROOM) == 0 then return refuse('room_not_found') end
  if not owns(ARGV[8]) then return refuse('FENCED') end
  local track = redis.call('HGET', TRACKS, ARGV[10])
  local record = redis.call('HGET', PARTICIPANTS, ARGV[9])
  if not track or not record or lines(track)[1] ~= ARGV[9] then return {'+', '0'} end
  redis.call('HDEL', TRACKS, ARGV[10])
  append('track.unpublished', '{"participant":"' .. ARGV[9] .. '","identity":'
    .. lines(record)[3] .. ',"track":"' .. ARGV[10] .. '"}')
  return {'+', '1'}
end)
