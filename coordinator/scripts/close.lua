-- Close the room in steps. ARGV 8 reason, 9 participants per step, 10 only if empty for so many
-- ms ('' : at once), 11 room sid ('' : whichever). The reply is '+', 1 if it was there and is being
-- closed, 1 if the caller must come again.
return once(function()
  local room = redis.call('HMGET', ROOM, 'sid', 'empty_since', 'closing')
  if not room[1] or (ARGV[11] ~= '' and ARGV[11] ~= room[1]) then return {'+', '0', '0'} end
  local reason = room[3] or ARGV[8]
  if ARGV[10] ~= '' and not room[3] then
    if redis.call('HLEN', PARTICIPANTS) > 0 then return {'+', '0', '0'} end
    if now_ms - tonumber(room[2] or whole(now_ms)) < tonumber(ARGV[10]) then
      return {'+', '0', '0'}
    end
  end
  local _, more = remove_some(tonumber(ARGV[9]), 'room_closed')
  if more then
    -- From here on nobody joins, and whoever finds the room like this goes on closing it.
    redis.call('HSET', ROOM, 'closing', reason)
    return {'+', '1', '1'}
  end
  end_broadcast('room_closed')
  append('room.closed', '{"sid":"' .. room[1] .. '","reason":"' .. reason .. '"}')
  redis.call('DEL', ROOM, PARTICIPANTS, IDENTITIES, TRACKS, EDGES, BROADCAST)
  redis.call('HDEL', OWNER, 'node')
  fade()
  return {'+', '1', '0'}
end)
