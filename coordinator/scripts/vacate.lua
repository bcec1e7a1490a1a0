-- The owner is gone, or gives the room up: its participants leave, the room is unowned, a live
-- broadcast waits for the next owner under a new sid (its files lie elsewhere; URLs never change
-- their content). ARGV 8 owner's node id, 9 its fence ('' : any), 10 reason, 11 participants per
-- step, 12 sid for the broadcast. The reply is '+', how many left, 1 if the caller must come again.
return once(function()
  local owner = redis.call('HMGET', OWNER, 'node', 'fence')
  if owner[1] ~= ARGV[8] or (ARGV[9] ~= '' and owner[2] ~= ARGV[9]) then
    return {'+', '0', '0'}
  end
  local count, more = remove_some(tonumber(ARGV[11]), ARGV[10])
  if more then return {'+', whole(count), '1'} end
  redis.call('HDEL', OWNER, 'node')
  local state = redis.call('HGET', BROADCAST, 'state')
  if state == 'stopping' then
    end_broadcast('stopped')
  elseif state == 'live' then
    local started_at = redis.call('HGET', BROADCAST, 'started_at')
    end_broadcast(ARGV[10])
    redis.call('HSET', BROADCAST, 'sid', ARGV[12], 'state', 'requested', 'started_at', started_at)
    append('broadcast.requested', '{"sid":"' .. ARGV[12] .. '"}')
  end
  return {'+', whole(count), '0'}
end)
