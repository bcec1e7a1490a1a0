-- Admit a participant; make and place the room if need be. All refusals come before all writes.
-- ARGV 8 sid, 9 identity (JSON), 10 hidden, 11 edge, 12 participant (JSON), 13 create,
--      14-17 as create.lua 8-11, 18 nodes known to live (' a b '), 19 node to place on ('' : none).
-- The reply is '+', entry id, placed (0 or 1) and the snapshot.
local function admit()
  local sid, identity, hidden = ARGV[8], ARGV[9], ARGV[10]
  local room = redis.call('HMGET', ROOM, 'sid', 'max', 'shown', 'closing')
  if room[4] then return refuse('room_closed') end
  if not room[1] and ARGV[13] == '0' then return refuse('room_not_found') end
  local owner = redis.call('HGET', OWNER, 'node')
  if owner and not string.find(ARGV[18], ' ' .. owner .. ' ', 1, true) then
    -- Not for us to judge whether that node lives: its lease is in another slot.
    return refuse('OWNER_UNKNOWN', owner)
  end
  if not owner and ARGV[19] == '' then return refuse('no_node') end
  local older = redis.call('HGET', IDENTITIES, identity)
  local max = tonumber(room[2] or ARGV[17])
  if hidden == '0' and max > 0 then
    local shown = tonumber(room[3] or '0')
    if older and lines(redis.call('HGET', PARTICIPANTS, older))[1] == '0' then
      shown = shown - 1
    end
    if shown >= max then return refuse('room_full') end
  end

  if not room[1] then create_room(14) end
  local placed = '0'
  if not owner then
    local fence = tonumber(redis.call('HGET', OWNER, 'fence') or '0') + 1
    if fence < now_ms then fence = now_ms end
    redis.call('HSET', OWNER, 'node', ARGV[19], 'fence', whole(fence))
    append('room.placed', '{"node":"' .. ARGV[19] .. '","fence":' .. whole(fence) .. '}')
    placed = '1'
  end
  if older then remove(older, 'duplicate_identity') end
  redis.call('HSET', PARTICIPANTS, sid, hidden .. '\n' .. ARGV[11] .. '\n' .. identity .. '\n' .. ARGV[12])
  redis.call('HSET', IDENTITIES, identity, sid)
  redis.call('HINCRBY', EDGES, ARGV[11], 1)
  if hidden == '0' then redis.call('HINCRBY', ROOM, 'shown', 1) end
  redis.call('HDEL', ROOM, 'empty_since')
  redis.call('HSET', ROOM, 'visited', '1')
  return {'+', append('participant.joined', '{"participant":' .. ARGV[12] .. '}'), placed}
end
local reply = once(admit)
-- The snapshot is read anew on a repeated call: storing it with the reply would cost too much.
if reply[1] == '+' then reply[4] = snapshot() end
return reply
