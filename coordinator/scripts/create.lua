-- Make a room unless it is there. ARGV 8 sid, 9 created_at, 10 settings, 11 max participants.
local reply = once(function()
  local room = redis.call('HMGET', ROOM, 'sid', 'closing')
  if room[2] then return refuse('room_closed') end
  if room[1] then return {'+', '0'} end
  create_room(8)
  return {'+', '1'}
end)
if reply[1] == '+' then reply[3] = snapshot(true) end
return reply
