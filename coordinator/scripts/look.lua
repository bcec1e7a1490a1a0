-- What the reaper must know of a room, without its participants. KEYS 1 room, 2 owner, 3 edges.
-- The reply is empty if there is no such room.
local room = redis.call('HMGET', KEYS[1], 'sid', 'settings', 'empty_since', 'visited', 'closing')
if not room[1] then return {} end
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local empty_for = ''
if room[3] then empty_for = string.format('%.0f', now_ms - tonumber(room[3])) end
return {
  room[1], room[2], empty_for, room[4] or '', room[5] or '',
  redis.call('HGET', KEYS[2], 'node') or '', redis.call('HKEYS', KEYS[3]),
}
