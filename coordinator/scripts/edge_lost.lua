-- A signaling process is gone: its participants leave. ARGV 8 its node id, 9 reason,
-- 10 participants per step. The reply is '+', how many left, 1 if the caller must come again.
return once(function()
  local count, more = remove_some(tonumber(ARGV[10]), ARGV[9], function(record)
    return record[2] == ARGV[8]
  end)
  return {'+', whole(count), more and '1' or '0'}
end)
