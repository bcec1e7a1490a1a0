-- The states of a room's broadcast. ARGV 8 verb, then
--   request: 9 sid, 10 started_at        -> requested
--   live:    9 sid, 10 fence, 11 url, 12 directory; requested -> live
--   stop:    (none); requested or live -> stopping, or ended if nobody owns the room
--   ended:   9 sid, 10 fence, 11 reason  -> none
-- The reply is '+', 1 if that changed anything, and the broadcast's fields (as they were at stop).
local FIELDS = {'sid', 'state', 'started_at', 'url', 'directory'}
local function fields()
  local values = redis.call('HMGET', BROADCAST, unpack(FIELDS))
  for at = 1, #FIELDS do values[at] = values[at] or '' end
  return values
end

local verbs = {}
function verbs.request()
  if redis.call('EXISTS', BROADCAST) == 1 then return refuse('broadcast_exists') end
  redis.call('HSET', BROADCAST, 'sid', ARGV[9], 'state', 'requested', 'started_at', ARGV[10])
  append('broadcast.requested', '{"sid":"' .. ARGV[9] .. '"}')
  return {'+', '1', fields()}
end
function verbs.live()
  if not owns(ARGV[10]) then return refuse('FENCED') end
  local now = fields()
  if now[1] ~= ARGV[9] or now[2] ~= 'requested' then return {'+', '0', now} end
  redis.call('HSET', BROADCAST, 'state', 'live', 'url', ARGV[11], 'directory', ARGV[12])
  append('broadcast.live', '{"sid":"' .. ARGV[9] .. '","url":' .. cjson.encode(ARGV[11]) .. '}')
  return {'+', '1', fields()}
end
function verbs.stop()
  local now = fields()
  if now[1] == '' then return refuse('broadcast_not_found') end
  if now[2] == 'stopping' then return {'+', '0', now} end
  if not redis.call('HGET', OWNER, 'node') then
    end_broadcast('stopped')
    now[2] = 'ended'
    return {'+', '1', now}
  end
  redis.call('HSET', BROADCAST, 'state', 'stopping')
  append('broadcast.stopping', '{"sid":"' .. now[1] .. '"}')
  return {'+', '1', fields()}
end
function verbs.ended()
  if not owns(ARGV[10]) then return refuse('FENCED') end
  local now = fields()
  if now[1] ~= ARGV[9] then return {'+', '0', now} end
  end_broadcast(ARGV[11])
  return {'+', '1', now}
end

return once(function()
  if redis.call('EXISTS', ROOM) == 0 then return refuse('room_not_found') end
  return verbs[ARGV[8]]()
end)
