-- A participant goes. ARGV 8 sid ('' : the one of identity 9), 9 identity (JSON), 10 reason.
-- The reply is '+', 1 if this call made it leave, and then the participant (JSON).
return once(function()
  local sid = ARGV[8]
  if sid == '' then sid = redis.call('HGET', IDENTITIES, ARGV[9]) end
  local record = sid and remove(sid, ARGV[10])
  if not record then return {'+', '0', ''} end
  return {'+', '1', record[4]}
end)
