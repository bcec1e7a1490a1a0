-- Append an event and change nothing else. ARGV 8 type, 9 data, 10 fence ('' : whoever).
return once(function()
  if ARGV[10] ~= '' and not owns(ARGV[10]) then return refuse('FENCED') end
  local id = append(ARGV[8], ARGV[9])
  if redis.call('EXISTS', ROOM) == 0 then fade() end
  return {'+', id}
end)
